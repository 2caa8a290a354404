#![no_main]
#[path = "drive/wire.rs"]
mod drive;
libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::wire(data));
