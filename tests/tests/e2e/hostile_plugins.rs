//! A plugin that misbehaves fails alone and is named; everything else goes on.
