//! The real programs against the sandbox.
