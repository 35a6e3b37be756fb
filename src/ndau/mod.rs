//! ndau
