//! Nothing to build: the script exists because `links` needs one.

fn main() {}
