//! Greenlets.
