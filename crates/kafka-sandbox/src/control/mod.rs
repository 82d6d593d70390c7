//! How a test sets the stage and reads the outcome, without a socket.

mod groups;
mod topics;
mod transactions;
