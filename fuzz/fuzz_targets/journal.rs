#![no_main]
#[path = "drive/journal.rs"]
mod drive;
libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::journal(data));
