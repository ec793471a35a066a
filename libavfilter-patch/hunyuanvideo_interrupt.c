/*
 * This file is part of FFmpeg.
 *
 * FFmpeg is free software; you can redistribute it and/or
 * modify it under the terms of the GNU Lesser General Public
 * License as published by the Free Software Foundation; either
 * version 2.1 of the License, or (at your option) any later version.
 *
 * FFmpeg is distributed in the hope that it will be useful,
 * but WITHOUT ANY WARRANTY; without even the implied warranty of
 * MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
 * Lesser General Public License for more details.
 *
 * You should have received a copy of the GNU Lesser General Public
 * License along with FFmpeg; if not, write to the Free Software
 * Foundation, Inc., 51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA
 */

/**
 * @file
 * The flag that stops the hunyuanvideo filters. Apart from them, so that
 * programs that set it link whichever of the filters are built, or none.
 */

#include <stdatomic.h>

#include "hunyuanvideo_interrupt.h"

/* the only state outside of a filter; set once, never cleared */
static atomic_int interrupted;

void avfilter_hunyuanvideo_interrupt(void)
{
    atomic_store(&interrupted, 1);
}

int ff_hunyuanvideo_interrupted(void)
{
    return atomic_load(&interrupted);
}
