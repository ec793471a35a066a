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
 * Stopping the hunyuanvideo filters from outside of their graph.
 */

#ifndef AVFILTER_HUNYUANVIDEO_INTERRUPT_H
#define AVFILTER_HUNYUANVIDEO_INTERRUPT_H

/**
 * Stop all hunyuanvideo filters of the process: they end their streams.
 * Async-signal-safe. Exported, for programs with a signal handler.
 */
void avfilter_hunyuanvideo_interrupt(void);

/** Whether that was called. */
int ff_hunyuanvideo_interrupted(void);

#endif /* AVFILTER_HUNYUANVIDEO_INTERRUPT_H */
