/* SPDX-License-Identifier: MPL-2.0 */
/*
 * How long tests wait: the times that stand in them are those of a quiet machine. LARDER_TEST_PATIENCE says how many times longer
 * things take on this one (patience.py measures it at the start of a run); without it 1. The time-outs of Criterion are stretched
 * as well. What a test claims about larder is never stretched.
 */
#ifndef LARDER_TEST_PATIENCE_H
#define LARDER_TEST_PATIENCE_H

#include <stdint.h>

int
patience_ms(int milliseconds);

#endif
