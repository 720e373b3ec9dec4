"""One image; many in parts."""
