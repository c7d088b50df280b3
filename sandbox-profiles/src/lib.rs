//! Profiles as data.
