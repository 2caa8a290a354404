#![no_main]
#[path = "drive/text.rs"]
mod drive;
libfuzzer_sys::fuzz_target!(|data: &[u8]| drive::imapd_conf(data));
