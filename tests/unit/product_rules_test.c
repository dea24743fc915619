/* SPDX-License-Identifier: MPL-2.0 */
/* What may be said of a product. */
#include "product/product_rules.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdio.h>
#include <string.h>

struct said_case {
    char claim[64];
    char product[80];
    char name[140];
    char category[40];
    char currency[8];
    char images[128];
    int64_t amount;
    char refused[32]; /* how the sentence begins; empty: it is taken */
};

#define SIXTY_FOUR "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct said_case said_cases[] = {
    {"an ordinary one", "burger-1", "Burger", "burger", "BRL", "https://x/1.jpg", 2490, ""},
    {"the longest SKU", SIXTY_FOUR, "Burger", "burger", "BRL", "", 1, ""},
    {"a SKU that is too long", SIXTY_FOUR "x", "Burger", "burger", "BRL", "", 1, "product: "},
    {"no SKU", "", "Burger", "burger", "BRL", "", 1, "product: "},
    {"a SKU with a space", "burger 1", "Burger", "burger", "BRL", "", 1, "product: \"burger 1\""},
    {"a SKU with an accent", "p\xc3\xa3o", "Burger", "burger", "BRL", "", 1, "product: "},
    {"no name", "b", "", "burger", "BRL", "", 1, "name: "},
    {"a name of spaces", "b", "   ", "burger", "BRL", "", 1, "name: "},
    {"a name of two lines", "b", "a\nb", "burger", "BRL", "", 1, "name: "},
    {"a name that ends the terminal's line", "b", "a\x1b[2J", "burger", "BRL", "", 1, "name: "},
    {"a name that is not UTF-8", "b", "a\xff", "burger", "BRL", "", 1, "name: "},
    {"a name with an accent", "b", "P\xc3\xa3o", "burger", "BRL", "", 1, ""},
    {"no category", "b", "B", "", "BRL", "", 1, "category: "},
    {"a category with a slash", "b", "B", "a/b", "BRL", "", 1, "category: "},
    {"a category that is too long", "b", "B", "0123456789abcdef0123456789abcdefx", "BRL", "", 1, "category: "},
    {"for nothing", "b", "B", "burger", "BRL", "", 0, ""},
    {"below nothing", "b", "B", "burger", "BRL", "", -1, "amount: "},
    {"the most", "b", "B", "burger", "BRL", "", LEVEL_MAX, ""},
    {"more than the most", "b", "B", "burger", "BRL", "", LEVEL_MAX + 1, "amount: "},
    {"a small currency", "b", "B", "burger", "brl", "", 1, "currency: "},
    {"a sign instead of a currency", "b", "B", "burger", "R$", "", 1, "currency: "},
    {"no currency", "b", "B", "burger", "", "", 1, "currency: "},
    {"four letters", "b", "B", "burger", "BRLX", "", 1, "currency: "},
    {"two pictures", "b", "B", "burger", "BRL", "http://a/1 https://b/2", 1, ""},
    {"a picture of a file", "b", "B", "burger", "BRL", "file:///etc/passwd", 1, "images: "},
    {"a picture that is a script", "b", "B", "burger", "BRL", "javascript:alert(1)", 1, "images: "},
    {"a scheme alone", "b", "B", "burger", "BRL", "https://", 1, "images: "},
    {"a picture with an accent", "b", "B", "burger", "BRL", "https://x/\xc3\xa3", 1, "images: "},
    {"the second of two is none", "b", "B", "burger", "BRL", "https://x/1 x", 1, "images: \"x\""},
};

static struct product_said
said_of(const struct said_case *one)
{
    return (struct product_said){
        .product = slice_of(one->product),
        .name = slice_of(one->name),
        .category = slice_of(one->category),
        .currency = slice_of(one->currency),
        .images = slice_of(one->images),
        .amount = one->amount,
        .is_active = true,
    };
}

ParameterizedTestParameters(product_rules, judges)
{
    return cr_make_param_array(struct said_case, said_cases, sizeof said_cases / sizeof *said_cases);
}

ParameterizedTest(struct said_case *one, product_rules, judges)
{
    struct err_text why = {""};
    struct product_said said = said_of(one);
    err code = product_check(&said, &why);
    cr_expect_eq(code, one->refused[0] == '\0' ? ERR_ok : ERR_invalid_field, "%s: %s", one->claim, why.text);
    cr_expect(strncmp(why.text, one->refused, strlen(one->refused)) == 0, "%s: %s", one->claim, why.text);
}

Test(product_rules, the_bounds_of_texts_are_inside)
{
    struct product_said said = said_of(&said_cases[0]);
    struct err_text why;
    char text[2100];
    memset(text, 'x', sizeof text);
    said.name = (struct slice){(const uint8_t *)text, 128};
    said.description = (struct slice){(const uint8_t *)text, 2000};
    cr_expect_eq(product_check(&said, &why), ERR_ok);
    said.name.size = 129;
    cr_expect_eq(product_check(&said, &why), ERR_invalid_field);
    said.name.size = 128;
    said.description.size = 2001;
    cr_expect_eq(product_check(&said, &why), ERR_invalid_field);
    cr_expect(strncmp(why.text, "description: ", 13) == 0);
}

Test(product_rules, sixteen_pictures_are_taken_and_seventeen_are_not)
{
    struct product_said said = said_of(&said_cases[0]);
    struct err_text why;
    char images[17 * 12 + 1] = "";
    for (int i = 0; i < 16; i++) {
        strcat(images, "http://x/12 ");
    }
    said.images = slice_of(images);
    cr_expect_eq(product_check(&said, &why), ERR_ok);
    strcat(images, "http://x/12 ");
    said.images = slice_of(images);
    cr_expect_eq(product_check(&said, &why), ERR_invalid_field);
}

Test(product_rules, a_picture_has_at_most_512_characters)
{
    struct product_said said = said_of(&said_cases[0]);
    struct err_text why;
    char image[600];
    memset(image, 'x', sizeof image);
    memcpy(image, "http://", 7);
    said.images = (struct slice){(const uint8_t *)image, 512};
    cr_expect_eq(product_check(&said, &why), ERR_ok);
    said.images.size = 513;
    cr_expect_eq(product_check(&said, &why), ERR_invalid_field);
}

Test(product_rules, blanks_between_pictures_become_one_space)
{
    char out[64];
    size_t size = product_join_images(slice_of("  http://a\t\n http://b  "), out);
    cr_expect_eq(size, 17);
    cr_expect(memcmp(out, "http://a http://b", 17) == 0);
    cr_expect_eq(product_join_images(slice_of(" \t "), out), 0);
}

Test(product_rules, every_field_makes_a_difference)
{
    struct product_said said = said_of(&said_cases[0]);
    said.description = slice_of("good");
    struct product_said others[8] = {said, said, said, said, said, said, said, said};
    others[0].product = slice_of("burger-2");
    others[1].name = slice_of("Burgers");
    others[2].description = slice_of("");
    others[3].category = slice_of("side");
    others[4].currency = slice_of("USD");
    others[5].images = slice_of("");
    others[6].amount++;
    others[7].is_active = false;
    cr_expect(product_is_same(&said, &said));
    for (size_t i = 0; i < 8; i++) {
        cr_expect_not(product_is_same(&said, &others[i]), "row %zu", i);
    }
}

Test(product_rules, an_expected_version_must_be_the_one_there_is)
{
    cr_expect_not(product_is_conflict(false, 0, 7));
    cr_expect_not(product_is_conflict(true, 7, 7));
    cr_expect_not(product_is_conflict(true, 0, 0));
    cr_expect(product_is_conflict(true, 0, 1));
    cr_expect(product_is_conflict(true, 6, 7));
    cr_expect(product_is_conflict(true, 1, 0));
}

Test(product_rules, employees_and_who_is_above_them_change_the_menu)
{
    cr_expect_not(product_may_change(ROLE_ANONYMOUS));
    cr_expect_not(product_may_change(ROLE_CUSTOMER));
    cr_expect(product_may_change(ROLE_EMPLOYEE));
    cr_expect(product_may_change(ROLE_ADMIN));
    cr_expect(product_may_change(ROLE_OPERATOR));
}
