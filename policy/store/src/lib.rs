//! Households, their documents and the keys, kept
