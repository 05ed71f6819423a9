//! What holds of the console's files, as they are sent.

mod scripts;
