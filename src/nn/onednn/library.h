// What differs between oneDNN 2.6 (Debian 12) and 3 (Debian 13), as one set of functions for the
// other files of this folder. Thread-safe, as far as their arguments are not shared.
#ifndef NN_ONEDNN_LIBRARY_H
#define NN_ONEDNN_LIBRARY_H

#include "base/base.h"

#include <dnnl.h>

// Version 2 gives and takes descriptors of memory by value, 3 as handles.
#if DNNL_VERSION_MAJOR < 3
typedef const dnnl_memory_desc_t *desc_ref;
// The scales of int8 are fixed when a convolution is made, and multiply the bias too.
#define ONEDNN_ARG_SCALES 0
#else
typedef const_dnnl_memory_desc_t desc_ref;
// They are an argument of each run, and the bias is added after them.
#define ONEDNN_ARG_SCALES (DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS)
#endif

// Owns descriptors until descs_clear(). Zero-initialise.
struct descs {
    void **items;
    int n;
};

// A new descriptor in *all; NULL if the library refuses it, as its other functions then do too.
desc_ref desc_new(struct descs *all, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                  dnnl_format_tag_t tag);
void descs_clear(struct descs *all);

// A descriptor as bytes for a file, and whether those are of this one.
size_t desc_bytes_size(void);
void desc_save(void *ret, desc_ref desc); // desc_bytes_size() bytes
bool desc_matches(const void *saved, desc_ref desc);

void post_ops_add_sum(dnnl_post_ops_t post, float scale);
void post_ops_add_eltwise(dnnl_post_ops_t post, dnnl_alg_kind_t alg, float alpha, float beta);
// One scale for each of n output channels of a convolution. Version 3: scales are an argument of
// the primitive, DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS.
dnnl_status_t attr_set_scales(dnnl_primitive_attr_t attr, int n, bool grouped, const float *scales);

// Primitives for inference; *ret for dnnl_primitive_desc_destroy().
struct conv_geometry {
    dnnl_dims_t strides, dilates, before, after; // dilates from 0
};
dnnl_status_t describe_conv(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref src,
                            desc_ref weights, desc_ref bias, desc_ref dst,
                            const struct conv_geometry *g, dnnl_primitive_attr_t attr);
struct pool_geometry {
    dnnl_dims_t strides, kernel, before, after;
};
dnnl_status_t describe_max_pool(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref src,
                                desc_ref dst, const struct pool_geometry *g,
                                dnnl_primitive_attr_t attr);
dnnl_status_t describe_add(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref a, desc_ref b,
                           desc_ref dst, dnnl_primitive_attr_t attr);
dnnl_status_t describe_eltwise(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref md,
                               dnnl_alg_kind_t alg, float alpha, float beta,
                               dnnl_primitive_attr_t attr);
dnnl_status_t describe_resize(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref src,
                              desc_ref dst, dnnl_primitive_attr_t attr);

#endif
