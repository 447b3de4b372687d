#include "nn/onednn/library.h"

#include <stdlib.h>
#include <string.h>

static desc_ref keep(struct descs *all, void *desc)
{
    void **items = realloc(all->items, (size_t)(all->n + 1) * sizeof(*items));
    if (!items)
        abort(); // a few bytes
    all->items = items;
    all->items[all->n++] = desc;
    return desc;
}

#if DNNL_VERSION_MAJOR < 3

desc_ref desc_new(struct descs *all, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                  dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t *desc = kb_alloc(sizeof(*desc));
    keep(all, desc);
    return dnnl_memory_desc_init_by_tag(desc, n_dims, dims, type, tag) == dnnl_success ? desc
                                                                                       : NULL;
}

void descs_clear(struct descs *all)
{
    for (int i = 0; i < all->n; i++)
        free(all->items[i]);
    free(all->items);
    *all = (struct descs){0};
}

size_t desc_bytes_size(void)
{
    return sizeof(dnnl_memory_desc_t);
}

void desc_save(void *ret, desc_ref desc)
{
    memcpy(ret, desc, sizeof(*desc));
}

bool desc_matches(const void *saved, desc_ref desc)
{
    return dnnl_memory_desc_equal(saved, desc);
}

void post_ops_add_sum(dnnl_post_ops_t post, float scale)
{
    dnnl_post_ops_append_sum(post, scale);
}

void post_ops_add_eltwise(dnnl_post_ops_t post, dnnl_alg_kind_t alg, float alpha, float beta)
{
    dnnl_post_ops_append_eltwise(post, 1.0f, alg, alpha, beta);
}

dnnl_status_t attr_set_scales(dnnl_primitive_attr_t attr, int n, bool grouped, const float *scales)
{
    return dnnl_primitive_attr_set_output_scales(attr, n, 1 << 1, scales);
}

dnnl_status_t describe_conv(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref src,
                            desc_ref weights, desc_ref bias, desc_ref dst,
                            const struct conv_geometry *g, dnnl_primitive_attr_t attr)
{
    dnnl_convolution_desc_t desc;
    dnnl_status_t st = dnnl_dilated_convolution_forward_desc_init(
        &desc, dnnl_forward_inference, dnnl_convolution_direct, src, weights, bias, dst, g->strides,
        g->dilates, g->before, g->after);
    return st == dnnl_success ? dnnl_primitive_desc_create(ret, &desc, attr, engine, NULL) : st;
}

dnnl_status_t describe_max_pool(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref src,
                                desc_ref dst, const struct pool_geometry *g,
                                dnnl_primitive_attr_t attr)
{
    dnnl_pooling_desc_t desc;
    dnnl_status_t st =
        dnnl_pooling_forward_desc_init(&desc, dnnl_forward_inference, dnnl_pooling_max, src, dst,
                                       g->strides, g->kernel, g->before, g->after);
    return st == dnnl_success ? dnnl_primitive_desc_create(ret, &desc, attr, engine, NULL) : st;
}

dnnl_status_t describe_add(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref a, desc_ref b,
                           desc_ref dst, dnnl_primitive_attr_t attr)
{
    dnnl_binary_desc_t desc;
    dnnl_status_t st = dnnl_binary_desc_init(&desc, dnnl_binary_add, a, b, dst);
    return st == dnnl_success ? dnnl_primitive_desc_create(ret, &desc, attr, engine, NULL) : st;
}

dnnl_status_t describe_eltwise(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref md,
                               dnnl_alg_kind_t alg, float alpha, float beta,
                               dnnl_primitive_attr_t attr)
{
    dnnl_eltwise_desc_t desc;
    dnnl_status_t st =
        dnnl_eltwise_forward_desc_init(&desc, dnnl_forward_inference, alg, md, alpha, beta);
    return st == dnnl_success ? dnnl_primitive_desc_create(ret, &desc, attr, engine, NULL) : st;
}

dnnl_status_t describe_resize(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref src,
                              desc_ref dst, dnnl_primitive_attr_t attr)
{
    dnnl_resampling_desc_t desc;
    dnnl_status_t st = dnnl_resampling_forward_desc_init(&desc, dnnl_forward_inference,
                                                         dnnl_resampling_linear, NULL, src, dst);
    return st == dnnl_success ? dnnl_primitive_desc_create(ret, &desc, attr, engine, NULL) : st;
}

#else

desc_ref desc_new(struct descs *all, int n_dims, const dnnl_dims_t dims, dnnl_data_type_t type,
                  dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t desc = NULL;
    if (dnnl_memory_desc_create_with_tag(&desc, n_dims, dims, type, tag) != dnnl_success)
        return NULL;
    return keep(all, desc);
}

void descs_clear(struct descs *all)
{
    for (int i = 0; i < all->n; i++)
        dnnl_memory_desc_destroy(all->items[i]);
    free(all->items);
    *all = (struct descs){0};
}

// What of a descriptor can be asked for. What it hides (sums for int8) shows in its size.
struct desc_bytes {
    int32_t n_dims, n_inner;
    dnnl_data_type_t type;
    dnnl_format_kind_t kind;
    dnnl_dims_t dims, padded, strides, inner, inner_index;
    uint64_t size;
};

static void copy_dims(dnnl_dims_t ret, desc_ref desc, dnnl_query_t what, int n)
{
    const dnnl_dims_t *dims = NULL;
    if (dnnl_memory_desc_query(desc, what, &dims) == dnnl_success && dims)
        memcpy(ret, *dims, (size_t)n * sizeof(ret[0]));
}

size_t desc_bytes_size(void)
{
    return sizeof(struct desc_bytes);
}

void desc_save(void *ret, desc_ref desc)
{
    struct desc_bytes b;
    memset(&b, 0, sizeof(b)); // padding too: it is compared as bytes
    dnnl_memory_desc_query(desc, dnnl_query_ndims_s32, &b.n_dims);
    dnnl_memory_desc_query(desc, dnnl_query_inner_nblks_s32, &b.n_inner);
    dnnl_memory_desc_query(desc, dnnl_query_data_type, &b.type);
    dnnl_memory_desc_query(desc, dnnl_query_format_kind, &b.kind);
    copy_dims(b.dims, desc, dnnl_query_dims, b.n_dims);
    copy_dims(b.padded, desc, dnnl_query_padded_dims, b.n_dims);
    copy_dims(b.strides, desc, dnnl_query_strides, b.n_dims);
    copy_dims(b.inner, desc, dnnl_query_inner_blks, b.n_inner);
    copy_dims(b.inner_index, desc, dnnl_query_inner_idxs, b.n_inner);
    b.size = dnnl_memory_desc_get_size(desc);
    memcpy(ret, &b, sizeof(b));
}

bool desc_matches(const void *saved, desc_ref desc)
{
    struct desc_bytes b;
    desc_save(&b, desc);
    return memcmp(saved, &b, sizeof(b)) == 0;
}

void post_ops_add_sum(dnnl_post_ops_t post, float scale)
{
    dnnl_post_ops_append_sum(post, scale, 0, dnnl_data_type_undef);
}

void post_ops_add_eltwise(dnnl_post_ops_t post, dnnl_alg_kind_t alg, float alpha, float beta)
{
    dnnl_post_ops_append_eltwise(post, alg, alpha, beta);
}

dnnl_status_t attr_set_scales(dnnl_primitive_attr_t attr, int n, bool grouped, const float *scales)
{
    // Which dimensions of the weights have scales of their own: the groups, the output channels.
    return dnnl_primitive_attr_set_scales_mask(attr, DNNL_ARG_WEIGHTS, grouped ? 3 : 1);
}

dnnl_status_t describe_conv(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref src,
                            desc_ref weights, desc_ref bias, desc_ref dst,
                            const struct conv_geometry *g, dnnl_primitive_attr_t attr)
{
    return dnnl_convolution_forward_primitive_desc_create(
        ret, engine, dnnl_forward_inference, dnnl_convolution_direct, src, weights, bias, dst,
        g->strides, g->dilates, g->before, g->after, attr);
}

dnnl_status_t describe_max_pool(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref src,
                                desc_ref dst, const struct pool_geometry *g,
                                dnnl_primitive_attr_t attr)
{
    const dnnl_dims_t dilates = {0};
    return dnnl_pooling_forward_primitive_desc_create(
        ret, engine, dnnl_forward_inference, dnnl_pooling_max, src, dst, g->strides, g->kernel,
        dilates, g->before, g->after, attr);
}

dnnl_status_t describe_add(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref a, desc_ref b,
                           desc_ref dst, dnnl_primitive_attr_t attr)
{
    return dnnl_binary_primitive_desc_create(ret, engine, dnnl_binary_add, a, b, dst, attr);
}

dnnl_status_t describe_eltwise(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref md,
                               dnnl_alg_kind_t alg, float alpha, float beta,
                               dnnl_primitive_attr_t attr)
{
    return dnnl_eltwise_forward_primitive_desc_create(ret, engine, dnnl_forward_inference, alg, md,
                                                      md, alpha, beta, attr);
}

dnnl_status_t describe_resize(dnnl_primitive_desc_t *ret, dnnl_engine_t engine, desc_ref src,
                              desc_ref dst, dnnl_primitive_attr_t attr)
{
    return dnnl_resampling_forward_primitive_desc_create(
        ret, engine, dnnl_forward_inference, dnnl_resampling_linear, NULL, src, dst, attr);
}

#endif
