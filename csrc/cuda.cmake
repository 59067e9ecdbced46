# Links _native with CUDA's libraries and says where they are when it is loaded. The driver's own library is not needed for that.
find_package(CUDAToolkit REQUIRED)
# All three by name: the folders below are looked through for what this module needs, not for what its libraries do.
target_link_libraries(_native PRIVATE CUDA::cudart CUDA::cublas CUDA::cublasLt)
target_link_options(_native PRIVATE -Wl,--no-as-needed)

# NVIDIA's packages, which pip puts beside ours: one folder for all since CUDA 13, one for each before.
if(CUDAToolkit_VERSION_MAJOR GREATER_EQUAL 13)
    set(found_in $ORIGIN/../nvidia/cu${CUDAToolkit_VERSION_MAJOR}/lib)
else()
    set(found_in $ORIGIN/../nvidia/cuda_runtime/lib $ORIGIN/../nvidia/cublas/lib)
endif()
# Then the toolkit, which a module for other machines cannot count on.
if(HSK_NATIVE)
    list(APPEND found_in ${CUDAToolkit_LIBRARY_DIR})
endif()
set_target_properties(_native PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "${found_in}")
