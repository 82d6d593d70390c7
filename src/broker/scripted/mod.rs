//! What becomes of the answers of a broker that says what a test makes it say.

mod reading;
mod writing;
