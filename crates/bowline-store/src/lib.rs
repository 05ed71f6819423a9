//! The port under the control plane: keys, revisions, watches, leases and transactions.
