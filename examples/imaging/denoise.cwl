cwlVersion: v1.2
class: CommandLineTool
label: Remove the noise from an image
baseCommand: python3
inputs:
  script:
    type: File
    default: {class: File, location: denoise.py}
    inputBinding: {position: 1}
  image:
    type: File
    inputBinding: {position: 2}
  width:
    type: int
    doc: of the median filter, in pixels
    inputBinding: {position: 3}
outputs:
  denoised:
    type: File
    outputBinding: {glob: $(inputs.image.nameroot)_denoised.png}
