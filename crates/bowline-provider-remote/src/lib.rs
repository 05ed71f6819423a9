//! A Bowline server as a provider: the wire types of its API and a client that implements the ports.
