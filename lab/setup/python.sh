# To be sourced: finds a Python for the venvs of the other scripts.

# Prints a Python that can make a venv with pip in it.
usable_python() {
    for python in python3 /usr/bin/python3; do
        if command -v "$python" >/dev/null && "$python" -c 'import venv, ensurepip' 2>/dev/null; then
            printf '%s\n' "$python"
            return 0
        fi
    done
    return 1
}
