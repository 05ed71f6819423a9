//! Tests of the store on a disk that fails.
