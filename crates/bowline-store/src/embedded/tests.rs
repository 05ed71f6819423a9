//! What the suite of the port cannot reach: failing files, damaged files, bounds.
