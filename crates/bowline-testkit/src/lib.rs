//! Fixtures for tests: free ports, temporary folders, polling for a condition, real servers.
