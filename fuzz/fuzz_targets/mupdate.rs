#![no_main]
#[path = "drive/mupdate.rs"]
mod drive;
libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::mupdate(data));
