ROWS = 10000000
def fill(path): pass
