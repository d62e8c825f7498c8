# The drawn street of `mmvl toy occupancy data/toy_occ`, in the files of nuScenes and Occ3D.
data_root = 'data/toy_occ/'
size = (64, 176)
near, far = 1.0, 21.0
# as in mmvl/occupancy/toy/world.py
grid = (32, 32, 8)
voxel_size = 0.8
lower = (-12.8, -12.8, -0.8)
stride = 16

train_pipeline = [
    dict(type='LoadSurroundImages', size=size, resize=(-0.05, 0.05), degrees=(-2, 2), augment=True),
    dict(type='LoadLiDARDepth', near=near, far=far, stride=stride),
    dict(type='LoadOccupancy'),
    dict(type='PackOccupancy'),
]
test_pipeline = [
    dict(type='LoadSurroundImages', size=size),
    dict(type='LoadOccupancy', extra_masks=('mask_occluded', 'mask_remembered')),
    dict(type='PackOccupancy'),
]
dataset = dict(
    type='NuScenesOccupancyDataset',
    data_root=data_root,
    labels='occ3d',
    lidar_seg_root=data_root + 'lidar_seg',
    grid=grid,
    version='v1.0-toy',
    origin_limit=12.0,
    max_origins=2,
)

train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='SequenceSampler', batch_size=2),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(**dataset, ann_file='toy_infos_train.pkl', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='SceneSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(**dataset, ann_file='toy_infos_val.pkl', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
# all voxels; those behind something; those of them that were to be seen before
hidden = dict(mask='occluded', prefix='occluded')
seen_before = dict(mask='remembered', prefix='remembered')
rays = dict(type='RayIoUMetric', lower=lower, voxel_size=voxel_size)
val_evaluator = [
    dict(type='OccupancyMIoU', mask=None),
    dict(type='OccupancyMIoU', **hidden),
    dict(type='OccupancyMIoU', **seen_before),
    dict(**rays),
    dict(**rays, **hidden),
    dict(**rays, **seen_before),
]
test_evaluator = val_evaluator
