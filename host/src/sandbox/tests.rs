//! Plugins as real components, good and hostile.
