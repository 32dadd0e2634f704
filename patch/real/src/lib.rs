//! Proof that `sward::patch` works on code that knows nothing of it: see `tests/`.

#![forbid(unsafe_code)]
