//! The checks behind the fuzz targets of HTTP/2.

mod client;
mod connection;
#[cfg(fuzzing)]
mod frame;
#[cfg(fuzzing)]
mod header_block;
#[cfg(fuzzing)]
mod reference;
mod script;
mod service;

pub(crate) use self::connection::check as connection;
#[cfg(fuzzing)]
pub(crate) use self::{frame::check as frame, header_block::check as header_block};

#[cfg(test)]
mod tests {
    #[test]
    fn every_connection_of_the_corpus_keeps_the_rules() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/connection");
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            super::connection(&std::fs::read(path).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "the corpus is empty");
    }
}
