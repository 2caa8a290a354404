//! What lies where a file of a store is expected is hostile: a link, a fifo, a socket, a directory,
//! something huge, truncated or growing. Every program refuses it and names it, or does its work
//! right; none hangs, crashes, takes much memory, or touches anything elsewhere.

mod attacked;
mod odd;
mod of_a_mailbox;
mod of_a_user;
mod of_the_programs;
