//! Alerts as a whole, under virtual time, with a store in memory and a receiver that does as it is told.

mod fixture;
mod life;
mod telling;

pub(super) use fixture::Memory;
