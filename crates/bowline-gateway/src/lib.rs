//! The gateway: routes of the system from outside to its services, over the data-plane engine.
