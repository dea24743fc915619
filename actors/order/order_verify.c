/* SPDX-License-Identifier: MPL-2.0 */
#include "order.h"
err
order_verify(struct db *db, struct verify_report *report)
{
    (void)db;
    (void)report;
    return ERR_ok;
}
