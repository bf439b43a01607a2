//! From source to append: row changes, publications and watermarks become events in the journal.
