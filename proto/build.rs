//! Compiles the admin API without `protoc`.

use std::{env, error::Error, fs, path::Path};

use protox::prost_reflect::prost_types::{
    FileDescriptorSet, MethodDescriptorProto, method_options::IdempotencyLevel,
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=pointsman/admin/v1/admin.proto");
    let files = protox::compile(["pointsman/admin/v1/admin.proto"], ["."])?;
    let names = read_only(&files);
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("read_only.rs"), format!("&{names:?}"))?;
    tonic_prost_build::configure()
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .compile_fds(files)?;
    Ok(())
}

/// The names of the methods with the option `NO_SIDE_EFFECTS`.
fn read_only(files: &FileDescriptorSet) -> Vec<&str> {
    let services = files.file.iter().flat_map(|file| &file.service);
    let methods = services.flat_map(|service| &service.method);
    let reads = |method: &&MethodDescriptorProto| {
        let options = method.options.as_ref();
        options
            .is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects)
    };
    methods
        .filter(reads)
        .map(MethodDescriptorProto::name)
        .collect()
}
