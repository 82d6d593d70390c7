//! The `login-pipeline` program.
#![forbid(unsafe_code)]

fn main() {}
