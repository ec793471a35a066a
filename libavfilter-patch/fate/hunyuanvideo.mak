# Generated pictures, of the built-in model "test": integer arithmetic, the same everywhere.
HUNYUANVIDEO_TEST = hunyuanvideo=prompt=fate:model=test:s=64x48:seed=1

FATE_HUNYUANVIDEO-$(call FILTERFRAMECRC, HUNYUANVIDEO) += fate-filter-hunyuanvideo
fate-filter-hunyuanvideo: CMD = framecrc -lavfi $(HUNYUANVIDEO_TEST):frames=9

FATE_HUNYUANVIDEO-$(call FILTERFRAMECRC, HUNYUANVIDEO) += fate-filter-hunyuanvideo-duration
fate-filter-hunyuanvideo-duration: CMD = framecrc -lavfi $(HUNYUANVIDEO_TEST):d=0.25:r=30:sar=4/3

FATE_HUNYUANVIDEO-$(call FILTERFRAMECRC, HUNYUANVIDEO) += fate-filter-hunyuanvideo-seed
fate-filter-hunyuanvideo-seed: CMD = framecrc -lavfi $(HUNYUANVIDEO_TEST):seed=4294967295:steps=3:frames=5

HUNYUANVIDEO_PIX_FMTS = yuv420p yuv422p yuv444p yuv420p10le yuv444p10le gbrp rgb24 gbrp10le gbrpf32le
define FATE_HUNYUANVIDEO_FORMAT
FATE_HUNYUANVIDEO-$(call FILTERFRAMECRC, HUNYUANVIDEO FORMAT) += fate-filter-hunyuanvideo-$(1)
fate-filter-hunyuanvideo-$(1): CMD = framecrc -lavfi $(HUNYUANVIDEO_TEST):frames=5,format=$(1)
endef
$(foreach F,$(HUNYUANVIDEO_PIX_FMTS),$(eval $(call FATE_HUNYUANVIDEO_FORMAT,$(F))))

FATE_FILTER-yes += $(FATE_HUNYUANVIDEO-yes)
fate-filter-hunyuanvideo-all: $(FATE_HUNYUANVIDEO-yes)

