//! Runs a system's processes: build, start, check, restart, drain.
