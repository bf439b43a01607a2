//! Who is it (tokens), and what may they do (policy).
