"""What overlays are drawn with: fonts, words, lettering, emblems, layers and blend modes.

A kind of overlay sets letters (`letters`) and emblems (`emblems`) into a tile, one mask an ink (`layers`), says where
the tile goes, and lays it over the picture. Work is done on the overlay's region only, in 8 bits.
"""
