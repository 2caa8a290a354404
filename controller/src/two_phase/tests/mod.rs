//! What the coordinator does at each step, and an exhaustive walk over everything that can
//! go wrong up to a number of faults.

mod steps;
mod walk;
