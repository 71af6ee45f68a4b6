"""Does a stretch of faces differ from a reference by more than chance, in what, and since when?"""
