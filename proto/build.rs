//! Compiles the admin API without `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=pointsman/admin/v1/admin.proto");
    let files = protox::compile(["pointsman/admin/v1/admin.proto"], ["."])?;
    tonic_prost_build::configure()
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .compile_fds(files)?;
    Ok(())
}
