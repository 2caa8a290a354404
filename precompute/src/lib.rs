//! SHA-1 of messages: hashing, the cyrus.sha1s cache, the parallel pass, scrub.
