"""Pure mathematics: numbers in, numbers out. It knows no network, no data and no file."""
